"""Jobs as messages of Dramatiq, in Redis.

messages   a job and the Dramatiq message that names it
jobs       telling workers: the port, without a thread and without waiting for Redis
broker     Dramatiq's broker and consumer, made to outlive Redis and what isn't theirs
crew       the threads of a worker, which have jobs done on one event loop
"""
