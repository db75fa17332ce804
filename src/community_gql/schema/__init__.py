"""What clients see: types, fields, inputs, ids."""
