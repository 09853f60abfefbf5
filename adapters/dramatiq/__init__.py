"""Jobs as messages of Dramatiq, in Redis.

messages   a job and the message that names it, in Dramatiq's wire format
jobs       telling workers: the port, without a thread and without waiting for Redis
broker     Dramatiq's broker and consumer, made to outlive Redis and what isn't theirs
crew       the threads of a worker, which have jobs done on one event loop
"""
