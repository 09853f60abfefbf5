"""Evidence: the part of a trace that a judge reads.

evidence   a redacted text form of a trace within a token budget, with a hash
step       a span in the evidence, with a label such as `s1.2`
redaction  replacing secrets and personal data
boundary   the line around the evidence, with digits that the author of a trace can't guess
features   figures for the heuristic judge, which need no understanding of the text
template   which parts of the evidence the judge of a custom metric sees
"""
