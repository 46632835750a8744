// The pages of jobs and of parked tasks: ages grow without news, and the question about waiving is about one file.
"use strict";
(() => {
  if (document.body.classList.contains("jobs")) {
    setInterval(() => {
      const live = document.getElementById("live").dataset.state === "live";
      if (live && !document.hidden) soft.go(location.href, { remember: false });
    }, 15000);
  }

  document.addEventListener(
    "click",
    (event) => {
      const button = event.target.closest("[data-waives]");
      if (!button) return;
      const { waives, campaign, version } = button.dataset;
      document.getElementById("waive-file").value = waives;
      document.getElementById("waive-campaign-field").value = campaign;
      document.getElementById("waive-version-field").value = version;
      document.getElementById("waive-name").textContent = waives;
      document.getElementById("waive-campaign").textContent = `${campaign} ${version}`;
    },
    { capture: true },
  );
})();
