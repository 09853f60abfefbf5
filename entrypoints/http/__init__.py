"""The HTTP edge: bytes to domain values, one use case, an answer.

operation    what one endpoint takes and gives, said once: it reads requests, and is documented
access       whose credentials an endpoint accepts, and how a caller is made of them
body         JSON bytes to a Struct and on to domain values: fast where all is usual, else thorough
words        strings of a path or a query to a Struct
paths        which segments a path has, where one of them may hold a slash
cursors      where a list goes on: positions as opaque text, and back
transfer     what happens to bytes on the way: size, coding, media type
problem      an error as it is answered; one table says which failure has which status
"""
