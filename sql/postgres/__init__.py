"""PostgreSQL: every statement in `.sql` files beside the thin functions that send them."""
