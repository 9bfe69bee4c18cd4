// The login, by a key.

import { logIn } from "./api.js";
import { told } from "./dialog.js";
import { h, update } from "./dom.js";
import { go } from "./main.js";
import { field } from "./widgets.js";

/** @type {import("./main.js").Page} */
export function login(view) {
  const fault = h("div.fault", { role: "alert", id: "login-fault" });
  const input = /** @type {HTMLInputElement} */ (h("input", {
    id: "key", name: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "login-fault",
  }));
  const onsubmit = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    try {
      await logIn(input.value.trim());
      input.value = "";
      go(location.pathname === "/dashboard/login" ? "/dashboard/" : location.href);
    } catch (problem) {
      update(fault, told(problem));
      input.select();
    }
  };
  view.show();
  view.show(h("form.login", { onsubmit },
    h("h1", { tabindex: "-1" }, "Log in"),
    h("p", null, "With an ", h("code", null, "admin"), " key of your app, or a ", h("code", null, "read"), " key to only look."),
    field("Key", input, "pushpost keys create --app APP --scope admin prints one."),
    fault,
    h("button.primary", { type: "submit" }, "Log in"),
    h("p.quiet", null, "The session ends after 12 hours, when you log out, or when the key is revoked.")));
}
