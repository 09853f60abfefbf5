"""The PostgreSQL adapters, with each SQL statement beside the code that runs it.

Piccolo runs the migrations and a few plain queries; everything else runs on asyncpg, over the same
pool.
"""

import os

# Piccolo finds its engine by this name, and only by it.
os.environ["PICCOLO_CONF"] = "adapters.postgres.piccolo_conf"
