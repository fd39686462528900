"""Claims about speed and gas, each a ratio to a yardstick measured in the same run."""
