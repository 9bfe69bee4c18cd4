// The keys of the app, to look at.

import { get, query } from "./api.js";
import { h } from "./dom.js";
import { time } from "./format.js";
import { heading, pager, state, table } from "./widgets.js";

/** @type {import("./main.js").Page} */
export async function keys(view) {
  /** @type {Api.KeyList} */
  const { items, next_cursor } = await get(`admin/keys${query({ cursor: view.query.get("cursor") })}`);
  const rows = items.map((key) => ({
    key: key.id,
    cells: [key.name ?? "–", h("code", null, key.id), key.scopes.join(", "), time(key.created_at),
      key.last_used_at ? time(key.last_used_at) : "never",
      key.revoked_at ? [state("revoked"), " ", time(key.revoked_at)] : key.expires_at ? ["ends ", time(key.expires_at)] : state("active")],
  }));
  const columns = ["Name", "Id", "Scopes", "Created", "Last used, by the hour", "State"];
  view.show(heading("Keys"), table("Keys", columns, rows, "This app has no keys."), pager(view.query, next_cursor),
    h("p.quiet", null, 
      "Keys are made and revoked by ", h("code", null, "pushpost keys create"), " and ", h("code", null, "pushpost keys revoke"), "."));
}
