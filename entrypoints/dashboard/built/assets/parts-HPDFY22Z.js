//# allFunctionsCalledOnLoad
import{Q as a,R as b,S as c}from"./chunk-ZZZF6HWX.js";import"./chunk-OF3NZHHX.js";export{a as Activity,b as Invitations,c as NewProject};
