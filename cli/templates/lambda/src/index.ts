export const handler: OffshootHandler<OffshootHttpEvent, OffshootHttpResult> = async (event, context) => {
  const name = event.queryStringParameters?.['name'] ?? 'world';
  console.log(`greeting ${name}`);
  return {
    statusCode: 200,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ greeting: `Hello, ${name}!`, request: context.awsRequestId }),
  };
};
