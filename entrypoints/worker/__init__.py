"""The worker process: jobs, periodic tasks, heartbeat, status port."""
