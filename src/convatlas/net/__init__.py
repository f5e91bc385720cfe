"""Networks: the contract they share, their names, their layer tables, and what becomes of them."""
