"""Walras: an exchange for local electricity.

The rooms, from the ground up: `units`, `slots`, `errors`; `market` (clearing), `grid` (physics), `devices`, `strategies`,
`tariffs`, `metering`, `ledger`, `exchange`, `community`, `study`, `service`, and the thin `cli`.
"""

__version__ = "0.1.0"
