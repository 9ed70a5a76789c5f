import type { Role } from "../types";

const NAMES: Record<Role, string> = { USER: "Member", CHANNEL_MANAGER: "Channel manager", ADMIN: "Administrator" };

export const roleName = (role: Role) => NAMES[role] ?? role;
