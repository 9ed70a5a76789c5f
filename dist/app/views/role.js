/** @type {Record<import("../types.js").Role, string>} */
const NAMES = { USER: "Member", CHANNEL_MANAGER: "Channel manager", ADMIN: "Administrator" };

/** @param {import("../types.js").Role} role */
export const roleName = (role) => NAMES[role] ?? role;
