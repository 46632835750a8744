// Actions: a form with data-act is sent as JSON with the caller's token in a header, which no other site can make a browser do.
// Fields become members of the body; one with data-type="number" a number, and one with data-type="list" a list of one or more.
// An empty field is left out. Fires "acted" afterwards, and looks again at the page.
"use strict";
(() => {
  const base = document.documentElement.dataset.base;
  document.documentElement.dataset.acts = "1"; // forms that act are shown from now on
  const dialog = document.getElementById("token-dialog");
  const said = document.getElementById("said");

  function say(text, wrong = false) {
    said.textContent = text;
    said.classList.toggle("error", wrong);
    said.hidden = false;
    clearTimeout(say.later);
    say.later = setTimeout(() => (said.hidden = true), wrong ? 15000 : 5000);
  }

  // Asks for a token; null when the caller thinks better of it.
  function ask(reason) {
    const field = document.getElementById("token-field");
    document.getElementById("token-error").textContent = reason;
    field.value = "";
    return new Promise((resolve) => {
      dialog.addEventListener(
        "close",
        () => {
          const token = dialog.returnValue === "go" ? field.value.trim() : null;
          field.value = "";
          if (token) sessionStorage.setItem("token", token);
          resolve(token || null);
        },
        { once: true },
      );
      dialog.returnValue = "";
      dialog.showModal();
    });
  }

  function bodyOf(form) {
    const body = {};
    for (const field of form.elements) {
      if (!field.name || field.value === "" || (field.type === "checkbox" && !field.checked)) continue;
      if (field.dataset.type === "list") (body[field.name] ??= []).push(field.value);
      else if (field.dataset.type === "number") body[field.name] = Number(field.value);
      else if (field.type === "checkbox") body[field.name] = true;
      else body[field.name] = field.value;
    }
    return body;
  }

  async function explain(answer) {
    try {
      const { detail } = await answer.json();
      return typeof detail === "string" ? detail : detail.map((item) => `${item.loc.at(-1)}: ${item.msg}`).join("; ");
    } catch {
      return answer.statusText;
    }
  }

  async function send(form, reason = "") {
    const token = (!reason && sessionStorage.getItem("token")) || (await ask(reason));
    if (!token) return;
    let answer;
    try {
      answer = await fetch(base + form.dataset.act, {
        method: form.dataset.method || "POST",
        headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
        body: JSON.stringify(bodyOf(form)),
        redirect: "error",
      });
    } catch {
      return say("The service does not answer; nothing was changed as far as this page knows.", true);
    }
    if (answer.status === 401 || answer.status === 403) {
      sessionStorage.removeItem("token");
      return send(form, await explain(answer));
    }
    if (!answer.ok) return say(await explain(answer), true);
    form.closest("dialog")?.close();
    say(form.dataset.done || "Done.");
    document.dispatchEvent(new Event("acted"));
    if (window.soft) soft.go(location.href, { remember: false });
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("form[data-act]")) return;
    event.preventDefault();
    const button = event.submitter;
    if (button) button.disabled = true;
    send(form).finally(() => button && (button.disabled = false));
  });
  // A button with data-opens shows the dialog of that id, one with data-closes closes it.
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-opens]");
    if (opener) document.getElementById(opener.dataset.opens).showModal();
    const closer = event.target.closest("[data-closes]");
    if (closer) closer.closest("dialog").close();
  });
})();
