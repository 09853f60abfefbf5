"""JSON Web Tokens and OpenID Connect issuers: discovery, keys, verification."""
