"""Price books: `genai-prices`, an operator's own table, and cached prices of projects."""
