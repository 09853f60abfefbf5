//# allFunctionsCalledOnLoad
import{I as a,J as b,K as c}from"./chunk-UTHOQOMM.js";import"./chunk-O3ANUVQS.js";export{a as Activity,b as Invitations,c as NewProject};
