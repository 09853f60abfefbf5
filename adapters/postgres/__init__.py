"""The PostgreSQL adapters, with each SQL statement next to the code that runs it.

Piccolo runs the migrations; everything else runs on asyncpg, over the same pool.
"""

import os

# Piccolo finds its engine by this name, and only by it.
os.environ["PICCOLO_CONF"] = "adapters.postgres.piccolo_conf"
