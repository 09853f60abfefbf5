"""Who is asking, and for which project.

organization   a tenant: its members, its projects, its API keys
project        what traces belong to; nothing crosses from one project to another
member         a user's place in an organization, with a role
API key        a secret of an organization, for programs; it reaches every project there
caller         who sent a request, resolved to one project and a set of scopes
"""
