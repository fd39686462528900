"""Metering: who measured what, proven. Identity, one canonical encoding, admission, the oracles' quorum, substitutes."""
