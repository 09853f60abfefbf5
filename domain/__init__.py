"""What is true whatever the database: values, rules, arithmetic. Standard library only."""
