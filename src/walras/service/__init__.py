"""Service: the only place with sockets, threads and wall time. The rules are in the rooms below; here they meet the world."""
