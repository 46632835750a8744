// The one form in which alarms are acknowledged: it is about the alarm whose button opened it.
"use strict";
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-alarm]");
  if (!button) return;
  const dialog = document.getElementById("acknowledge");
  const form = dialog.querySelector("form");
  form.reset();
  form.dataset.act = `/api/v1/alarms/${button.dataset.alarm}/acknowledge`;
  document.getElementById("acknowledge-what").textContent = button.dataset.title;
});
