/** Constructions that make a reader look for the noun. CONTRIBUTING.md says what to write in their place. */

export interface Habit {
  readonly name: string;
  readonly matches: (sentence: string) => boolean;
}

const isQuestion = (sentence: string): boolean => sentence.endsWith('?');

/** The first that matches counts, so a sentence counts once. */
export const HABITS: readonly Habit[] = [
  {
    name: 'begins with What, Who or Whoever and is no question',
    matches: (sentence) =>
      /^["'(]?(What|Who|Whom|Whoever|Whatever|Whose)\b/.test(sentence) && !isQuestion(sentence),
  },
  {
    name: 'says "so many" in place of the number',
    matches: (sentence) =>
      /\bso (long|many|much|often|few|far)\b(?! (as|that)\b)/i.test(sentence) && !/\bso far as\b/i.test(sentence),
  },
  {
    name: 'says nobody, somebody, whoever or whom in place of the caller',
    matches: (sentence) => /\b(nobody|somebody|whoever|whom|whosoever)\b/i.test(sentence),
  },
  {
    name: 'says "is told", "is had", "is let" or "is given" in place of the act',
    matches: (sentence) =>
      /\b(is|are|was|were|be|been|being) (told|had|let|given|heard|said)\b/i.test(sentence),
  },
  {
    name: 'says "what is" in place of the noun',
    matches: (sentence) =>
      /(?<!^["'(]?)\b(of|from|by|in|and|with|for|to|that|all|than|but|off|are|is) what (is|was|has|had|it|they|the|a|are|were|nobody|comes|came|follows)\b/i.test(
        sentence,
      ) && !isQuestion(sentence),
  },
];

/** A sentence with more words holds more than one thought. */
export const MAX_WORDS = 25;

/** The construction that a sentence has, or undefined. */
export function habitOf(sentence: string): Habit | undefined {
  return HABITS.find(({ matches }) => matches(sentence));
}
