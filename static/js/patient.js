// A question to the server that outlives a lost connection: pages refresh themselves, and nobody is there to ask again.

const AGAIN_MS = 2000;
const UNKNOWN = 401;

/** Like `fetch`, but where the server cannot be reached it asks until it can. @param {string | URL} url @param {RequestInit} [options] */
export async function patient(url, options) {
  for (;;) {
    try {
      const answer = await fetch(url, options);
      if (answer.status === UNKNOWN) location.reload(); // signed out in another window: the way in is a page of its own
      return answer;
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // called off, not cut off
      await new Promise((soon) => setTimeout(soon, AGAIN_MS));
    }
  }
}
