// All webhooks: whether events reach their receivers.

import { get } from "./api.js";
import { count, duration, time } from "./format.js";
import { redraw } from "./live.js";
import { lastAttempt } from "./webhook.js";
import { heading, idLink, link, state, table } from "./widgets.js";

/** @type {import("./main.js").Page} */
export async function webhooks(view) {
  const draw = async () => {
    /** @type {Api.WebhookList} */
    const { items } = await get("admin/webhooks");
    const rows = items.map((hook) => ({ key: hook.id, cells: [
      idLink("webhooks", hook.id, hook.name), state(hook.state), lastAttempt(hook), duration(hook.lag_seconds),
      hook.set_aside > 0 ? link(`/dashboard/webhooks/${hook.id}#set-aside`, count(hook.set_aside)) : "0",
      time(hook.last_success_at), new URL(hook.url).host, hook.source,
    ] }));
    const columns = ["Webhook", "State", "Last attempt", "#Lag", "#Set aside", "Last success", "Host", "Made by"];
    view.show(heading("Webhooks"), table("Webhooks", columns, rows,
      "No webhook. The configuration names them: [[apps.NAME.webhooks]]."), link("/docs/webhooks", "How webhooks work"));
  };
  await redraw(view.signal, draw);
}
