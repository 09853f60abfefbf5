"""Built-in metrics: their registry, rubrics, and computed metrics.

metric     what is evaluated of a trace or session, identified by name; 1.0 is the good end
threshold  the least score that counts as success
rubric     the criterion of a judged metric, and the meaning of each label
precheck   decides an outcome without a judge, such as a skip
"""
