"""The HTTP edge: turns bytes into domain values, calls one use case, and sends a response.

app              the ASGI application: routes and middleware
endpoint         what one endpoint reads and returns; guards and dependencies of all handlers
authentication   which credentials an endpoint accepts, and which caller they make
requests/        reads bodies, queries, paths and headers; collects every error of a request
responses        JSON responses, and the replay of a response for a repeated write
error_responses  the error envelope, and the status of each failure
streams          response bodies that are sent while they are made
middleware/      ASGI layers around the routes: limits, load shedding, logs, headers
openapi/         the OpenAPI document, made of the handlers' signatures
controllers/     the handlers and their wire schemas, one package per chapter of the API
pages/           HTML, CSS and JavaScript of the pages that are served
"""
