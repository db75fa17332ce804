-- The sample SQL of the seed's database-schema-design.md, as it stands there.

-- Enable citext extension for case-insensitive text
CREATE EXTENSION IF NOT EXISTS citext;

-- Users table
CREATE TABLE users (
  auth0_sub VARCHAR(64) PRIMARY KEY,
  email CITEXT UNIQUE NOT NULL,
  created_at TIMESTAMPTZ DEFAULT now()
);

CREATE INDEX idx_users_email ON users(email);

-- User profiles table
CREATE TABLE user_profiles (
  user_id VARCHAR(64) PRIMARY KEY REFERENCES users(auth0_sub) ON DELETE CASCADE,
  display_name VARCHAR(80),
  bio TEXT,
  journaling_frequency INTEGER CHECK (journaling_frequency >= 0),
  updated_at TIMESTAMPTZ DEFAULT now()
);

-- Tags table
CREATE TABLE tags (
  id BIGSERIAL PRIMARY KEY,
  name VARCHAR(64) UNIQUE NOT NULL,
  created_at TIMESTAMPTZ DEFAULT now()
);

-- User tags junction table
CREATE TABLE user_tags (
  user_id VARCHAR(64) REFERENCES users(auth0_sub) ON DELETE CASCADE,
  tag_id BIGINT REFERENCES tags(id) ON DELETE CASCADE,
  PRIMARY KEY (user_id, tag_id)
);

CREATE INDEX idx_user_tags_tag_id ON user_tags(tag_id);

CREATE TABLE stories (
  id BIGSERIAL PRIMARY KEY,
  user_id VARCHAR(64) REFERENCES users(auth0_sub) ON DELETE CASCADE,
  title VARCHAR(140) NOT NULL,
  content TEXT NOT NULL,
  visibility VARCHAR(16) DEFAULT 'private' CHECK (visibility IN ('private','public','friends')),
  tags_cached VARCHAR[],
  created_at TIMESTAMPTZ DEFAULT now(),
  updated_at TIMESTAMPTZ DEFAULT now()
);

CREATE INDEX idx_stories_user_created ON stories(user_id, created_at DESC);
CREATE INDEX idx_stories_visibility ON stories(visibility);

CREATE TABLE habits (
  id BIGSERIAL PRIMARY KEY,
  user_id VARCHAR(64) REFERENCES users(auth0_sub) ON DELETE CASCADE,
  name VARCHAR(80) NOT NULL,
  frequency VARCHAR(24) CHECK (frequency IN ('daily','weekly','monthly','custom')),
  meta JSONB DEFAULT '{}'::jsonb,
  created_at TIMESTAMPTZ DEFAULT now(),
  UNIQUE (user_id, name)
);

CREATE TABLE gardens (
  id BIGSERIAL PRIMARY KEY,
  user_id VARCHAR(64) UNIQUE REFERENCES users(auth0_sub) ON DELETE CASCADE,
  name VARCHAR(80) NOT NULL,
  theme VARCHAR(40),
  created_at TIMESTAMPTZ DEFAULT now()
);

-- User features
CREATE TABLE user_features (
  user_id VARCHAR(64) PRIMARY KEY REFERENCES users(auth0_sub) ON DELETE CASCADE,
  vector JSONB NOT NULL,
  version INTEGER DEFAULT 1,
  updated_at TIMESTAMPTZ DEFAULT now()
);

CREATE INDEX idx_user_features_updated ON user_features(updated_at);

-- Match results
CREATE TABLE match_results (
  id BIGSERIAL PRIMARY KEY,
  user_id VARCHAR(64) REFERENCES users(auth0_sub) ON DELETE CASCADE,
  target_user_id VARCHAR(64) REFERENCES users(auth0_sub) ON DELETE CASCADE,
  score DOUBLE PRECISION NOT NULL,
  created_at TIMESTAMPTZ DEFAULT now(),
  UNIQUE (user_id, target_user_id, created_at)
);

CREATE INDEX idx_match_results_user_score ON match_results(user_id, score DESC);
