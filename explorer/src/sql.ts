// Loaded only when someone looks at SQL.

import { formatDialect, postgresql } from 'sql-formatter';

export function pretty(text: string): string {
  try {
    return formatDialect(text, { dialect: postgresql, keywordCase: 'upper', expressionWidth: 80 });
  } catch {
    return text; // what the formatter cannot read is still the statement that ran
  }
}
