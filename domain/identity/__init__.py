"""Callers and what they may do: organizations, projects, members, API keys.

organization  a tenant with members, projects and API keys
project       the container of traces; no data crosses between projects
member        a user in an organization, with a role
API key       a secret of an organization for programs; valid for all its projects
caller        the sender of a request, resolved to one project and a set of scopes
"""
