// The bearer token: given in the address's fragment or in the page's field, kept as long as the tab.

const KEY = "territory-delta/token";

export function keepToken(token) {
  sessionStorage.setItem(KEY, token);
}

export function keptToken() {
  return sessionStorage.getItem(KEY);
}

/** Take `#token=...` out of the address, so that it is in no history and no screenshot. */
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  keepToken(given);
  history.replaceState(null, "", location.pathname + location.search);
}
