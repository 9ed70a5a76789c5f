import { t } from "../i18n";
import { notice, phase } from "../session";
import { Auth } from "./auth";
import { Logo } from "./icons";
import { Shell } from "./shell";
import { Toasts } from "./toasts";

export function App() {
  return (
    <>
      {phase.value === "signed-in" && <Shell />}
      {phase.value === "signed-out" && <Auth notice={notice.value} />}
      {phase.value === "starting" && <Splash />}
      {phase.value === "unreachable" && <Splash text={t("The server cannot be reached. Trying again…")} />}
      <Toasts />
    </>
  );
}

function Splash({ text }: { text?: string }) {
  return (
    <main class="splash" aria-busy="true">
      <Logo />
      <p role="status">{text}</p>
    </main>
  );
}
