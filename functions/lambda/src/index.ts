/** A handler in the style of AWS Lambda: it answers HTTP requests (payload format 2.0) and plain JSON events alike. */
interface SumEvent {
  readonly numbers?: readonly number[];
}

export const handler: OffshootHandler<OffshootHttpEvent | SumEvent> = async (event, context) => {
  if (!('requestContext' in event)) return { sum: sum(event.numbers ?? []), request: context.awsRequestId };

  const numbers = (event.queryStringParameters?.['numbers'] ?? '').split(',').filter(Boolean).map(Number);
  if (numbers.some(Number.isNaN)) {
    return {
      statusCode: 400,
      body: JSON.stringify({ error: 'numbers must be numbers, such as ?numbers=1,2,3' }),
    };
  }
  console.log(`adding ${numbers.length} numbers`);
  return {
    statusCode: 200,
    headers: { 'content-type': 'application/json', 'x-method': event.requestContext.http.method },
    cookies: ['seen=yes; Path=/', 'count=' + String(numbers.length)],
    body: JSON.stringify({ sum: sum(numbers), path: event.rawPath }),
  };
};

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
