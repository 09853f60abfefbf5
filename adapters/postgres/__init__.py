"""Postgres: the truth. SQL lives here, in sight, each statement with its reason.

Piccolo holds the schema, the migrations and ordinary queries; what is hot runs on asyncpg, over
the pool that Piccolo opens.
"""

import os

# Piccolo finds its engine by this name, and only by it.
os.environ["PICCOLO_CONF"] = "adapters.postgres.piccolo_conf"
