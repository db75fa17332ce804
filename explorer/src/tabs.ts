// What the explorer opens with. Each runs as it stands; the names become the tabs' titles.

export const TABS = [
  {
    query: `# People, their gardens, habits and stories.
# Choose a person (top right) and press Run:
# everyone sees what they may see.
query People {
  viewer {
    email
  }
  users(
    first: 5
    orderBy: NAME
    filter: { search: "a" }
  ) {
    totalCount
    nodes {
      profile {
        displayName
        bio
      }
      viewerFriendship {
        status
      }
      garden {
        name
        theme
      }
      habits(first: 2) {
        nodes {
          name
          frequency
        }
      }
      stories(first: 3) {
        totalCount
        nodes {
          title
          visibility
          tagNames
        }
      }
    }
  }
}
`,
  },
  {
    query: `# The feed with a search: words in any form,
# "phrases", -exclusion, or.
query Feed($search: String!) {
  stories(
    first: 5
    filter: { search: $search }
  ) {
    totalCount
    nodes {
      title
      excerpt(length: 80)
      tagNames
      author {
        profile {
          displayName
        }
      }
    }
  }
}
`,
    variables: '{\n  "search": "garden -winter"\n}\n',
  },
  {
    query: `# A page at a time: "Next page" under the
# answer puts pageInfo.endCursor into "after".
query Paging($first: Int!, $after: String) {
  stories(
    first: $first
    after: $after
    orderBy: OLDEST
  ) {
    nodes {
      title
      createdAt
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
`,
    variables: '{\n  "first": 3,\n  "after": null\n}\n',
  },
  {
    query: `# Sign in first (top right). One story is saved.
# The other is refused: userErrors names
# everything that is wrong with it.
mutation WriteStory($good: CreateStoryInput!, $wrong: CreateStoryInput!) {
  written: createStory(input: $good) {
    story {
      title
      visibility
      tagNames
      viewerCanEdit
    }
    userErrors {
      code
    }
  }
  refused: createStory(input: $wrong) {
    story {
      title
    }
    userErrors {
      code
      message
      path
    }
  }
}
`,
    variables: `{
  "good": {
    "title": "Written in the explorer",
    "content": "It **works** from here too.",
    "visibility": "FRIENDS",
    "tags": ["curiosity"]
  },
  "wrong": {
    "title": " ",
    "content": "A title is missing, and one of the tags.",
    "tags": ["curiosity", "no such tag"]
  }
}
`,
  },
  {
    query: `# Sign in first (top right). A person has at most
# one garden, so whoever has one is refused.
# (Srinivasa Ramanujan has none yet.)
mutation SecondGarden {
  createGarden(input: { name: "One more", theme: "meadow" }) {
    garden {
      name
      theme
    }
    userErrors {
      code
      message
      path
    }
    query {
      viewer {
        user {
          garden {
            name
            theme
          }
        }
      }
    }
  }
}
`,
  },
  {
    query: `# Sign in first (top right). Who suits you, best
# first, and what you have in common: it names
# nothing that you may not see.
query Matches {
  viewer {
    matching {
      state
      wanted
      habits
    }
    user {
      matches(first: 3) {
        nodes {
          score
          user {
            profile {
              displayName
              bio
            }
          }
          reasons {
            tags {
              name
            }
            themes {
              name
            }
            habits {
              name
            }
            journaling
          }
        }
      }
    }
  }
}
`,
  },
  {
    query: `# Run it, then run WriteStory in a second
# window: the story appears here. RELOAD comes
# first: read the list now, later changes are
# told. After a cut it goes on where it was.
subscription Live($after: String) {
  stories(after: $after) {
    kind
    story {
      title
      tagNames
      author {
        profile {
          displayName
        }
      }
    }
    goneId
    moment
  }
}
`,
  },
];
