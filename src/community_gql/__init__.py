"""community-gql: a GraphQL API for a community app on PostgreSQL."""
