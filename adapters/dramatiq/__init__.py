"""Jobs as Dramatiq messages in Redis.

messages     converts between a job and a Dramatiq message
jobs         sends jobs: the port Jobs, without a thread and without waiting for Redis
broker       Dramatiq's broker and consumer, which survive outages of Redis and foreign messages
worker_pool  the threads of a worker, which run the jobs on one event loop
"""
