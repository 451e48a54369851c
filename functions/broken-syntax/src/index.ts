export default {
  fetch() {
    const answer = ;
    return new Response(answer);
  },
};
