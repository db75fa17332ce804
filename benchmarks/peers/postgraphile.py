"""The queries in the schema that PostGraphile makes of the tables."""

DOCUMENTS = {
    "small": """
query Small($id: UUID!) {
  user: userByPublicId(publicId: $id) {
    id: publicId
    createdAt
    profile: userProfile { displayName bio }
    garden { name theme }
  }
}
""",
    "nested": """
query Nested($after: Cursor) {
  users(first: 20, after: $after, orderBy: [CREATED_AT_DESC, PUBLIC_ID_DESC]) {
    nodes {
      id: publicId
      profile: userProfile { displayName }
      garden { name theme }
      stories(first: 5, orderBy: [CREATED_AT_DESC, ROW_ID_DESC]) {
        nodes { id: rowId title visibility createdAt tagNames: tagsCached }
      }
    }
    pageInfo { hasNextPage endCursor }
  }
}
""",
    "graph": """
query Graph($after: Cursor) {
  stories(first: 10, after: $after, orderBy: [CREATED_AT_DESC, ROW_ID_DESC]) {
    nodes {
      id: rowId
      title
      tags: tagsByStoryTagStoryIdAndTagId(orderBy: [NAME_ASC]) { nodes { id: rowId name } }
      author: user {
        id: publicId
        profile: userProfile { displayName }
        stories(first: 3, orderBy: [CREATED_AT_DESC, ROW_ID_DESC]) {
          nodes {
            id: rowId
            title
            tags: tagsByStoryTagStoryIdAndTagId(orderBy: [NAME_ASC]) { nodes { id: rowId name } }
          }
        }
      }
    }
    pageInfo { hasNextPage endCursor }
  }
  viewer {
    matches: newestMatches(first: 5) {
      nodes {
        score
        user: targetUser { id: publicId profile: userProfile { displayName } }
      }
    }
  }
}
""",
    "list": """
query List($after: Cursor) {
  stories(first: 100, after: $after, orderBy: [CREATED_AT_DESC, ROW_ID_DESC]) {
    nodes {
      id: rowId
      title
      visibility
      createdAt
      author: user { profile: userProfile { displayName } }
    }
    pageInfo { hasNextPage endCursor }
  }
}
""",
}
