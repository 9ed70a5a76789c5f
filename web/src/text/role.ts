import { t } from "../i18n";
import type { Role } from "../types";

const NAMES = { USER: "Member", CHANNEL_MANAGER: "Channel manager", ADMIN: "Administrator" } as const;

export const roleName = (role: Role) => (role in NAMES ? t(NAMES[role]) : role);
