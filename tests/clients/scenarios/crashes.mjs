export const crashes = [];
