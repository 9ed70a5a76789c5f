import { t } from "../i18n";

/** The last row of a list of which a part is shown. */
export const ShowMore = ({ onClick }: { onClick: () => void }) => (
  <li>
    <button type="button" class="link more" onClick={onClick}>
      {t("Show more")}
    </button>
  </li>
);
