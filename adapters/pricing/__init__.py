"""Price books: `genai-prices`, an operator's table, and the cached prices of projects."""
