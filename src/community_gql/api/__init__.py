"""Everything that is GraphQL: types, edges, inputs, the schema and the view that answers."""
