"""Postgres: the truth. SQL lives here, in sight, each statement with its reason.

Piccolo runs the migrations and a few plain queries; everything else runs on asyncpg, over the same
pool.
"""

import os

# Piccolo finds its engine by this name, and only by it.
os.environ["PICCOLO_CONF"] = "adapters.postgres.piccolo_conf"
