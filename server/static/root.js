// The path prefix below which the server lies: its modules are at PREFIX/static/VERSION/.

const { protocol, pathname } = new URL("../..", import.meta.url);
const ROOT = protocol.startsWith("http") ? pathname.slice(0, -1) : "";

/** The path by which this browser reaches a route or page of the server, such as "/api/status". */
export const below = (path) => ROOT + path;
