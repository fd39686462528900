"""What each command of `walras` prints: one file a command, loaded when it is asked for."""
